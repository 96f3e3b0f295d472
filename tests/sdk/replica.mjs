// One replica with the official TypeScript SDK; the same tools as replica.py.
//
//     node replica.mjs NAME PORT

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { z } from "zod";

const [name, port] = [process.argv[2], Number(process.argv[3])];
const sessions = new Map();

function text(value) {
  return { content: [{ type: "text", text: JSON.stringify(value) }], structuredContent: value };
}

function session() {
  const mcp = new McpServer({ name, version: "1.0.0" }, { capabilities: { logging: {} } });
  let count = 0;

  mcp.registerTool("count", {}, () => text({ replica: name, count: ++count }));

  mcp.registerTool("work", { inputSchema: { steps: z.number() } }, async ({ steps }, { _meta, sendNotification }) => {
    for (let step = 1; step <= steps; step++) {
      const params = { progressToken: _meta.progressToken, progress: step, total: steps };
      await sendNotification({ method: "notifications/progress", params });
    }
    return text({ result: steps });
  });

  mcp.registerTool("think", {}, async ({ requestId }) => {
    const messages = [{ role: "user", content: { type: "text", text: "ping" } }];
    const answer = await mcp.server.createMessage({ messages, maxTokens: 10 }, { relatedRequestId: requestId });
    return text({ result: answer.content.text });
  });

  mcp.registerTool("choose", {}, async ({ requestId }) => {
    const requestedSchema = { type: "object", properties: { colour: { type: "string" } }, required: ["colour"] };
    const answer = await mcp.server.elicitInput(
      { message: "Which colour?", requestedSchema },
      { relatedRequestId: requestId },
    );
    return text({ result: answer.content.colour });
  });

  mcp.registerTool("announce", {}, async () => {
    await mcp.server.sendLoggingMessage({ level: "info", data: `hello from ${name}` });
    return text({});
  });

  return mcp;
}

async function serve(request, response) {
  const id = request.headers["mcp-session-id"];
  let transport = sessions.get(id);
  if (id && !transport) {
    response.writeHead(404).end();
    return;
  }
  if (!transport) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (issued) => sessions.set(issued, transport),
      onsessionclosed: (closed) => sessions.delete(closed),
    });
    await session().connect(transport);
  }
  await transport.handleRequest(request, response);
}

createServer((request, response) => {
  serve(request, response).catch(() => response.destroy());
}).listen(port, "127.0.0.1");
