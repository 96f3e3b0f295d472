// One replica with the official TypeScript SDK; the same tools as replica.py.
//
//     node replica.mjs NAME PORT
//
//     /mcp    Streamable HTTP with resumable streams
//     /sse    HTTP+SSE of 2024-11-05
//     /go     the same with the endpoint as the official Go SDK writes it

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout } from "node:timers/promises";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { SSEServerTransport } from "@modelcontextprotocol/sdk/server/sse.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { z } from "zod";

const RETRY = 50; // milliseconds, after which a client resumes a stream

const [name, port] = [process.argv[2], Number(process.argv[3])];
const sessions = new Map();

// What has been sent on every stream, so that a stream can be resumed.
class Events {
  #sent = [];

  async storeEvent(stream, message) {
    this.#sent.push({ stream, message });
    return String(this.#sent.length - 1);
  }

  async getStreamIdForEventId(id) {
    return this.#sent[Number(id)]?.stream;
  }

  async replayEventsAfter(last, { send }) {
    const { stream } = this.#sent[Number(last)];
    for (let id = Number(last) + 1; id < this.#sent.length; id++) {
      const event = this.#sent[id];
      if (event.stream === stream && event.message.jsonrpc) await send(String(id), event.message);
    }
    return stream;
  }
}

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

  mcp.registerTool("interrupted", {}, async ({ closeSSEStream }) => {
    closeSSEStream();
    await setTimeout(RETRY);
    return text({ result: "resumed" });
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

async function serveHttp(request, response) {
  const id = request.headers["mcp-session-id"];
  let transport = sessions.get(id);
  if (id && !transport) {
    response.writeHead(404).end();
    return;
  }
  if (!transport) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: new Events(),
      retryInterval: RETRY,
      onsessioninitialized: (issued) => sessions.set(issued, transport),
      onsessionclosed: (closed) => sessions.delete(closed),
    });
    await session().connect(transport);
  }
  await transport.handleRequest(request, response);
}

async function serveSse(request, response, query) {
  if (request.method === "GET") {
    const transport = new SSEServerTransport("/messages", response);
    sessions.set(transport.sessionId, transport);
    response.on("close", () => sessions.delete(transport.sessionId));
    await session().connect(transport);
    return;
  }
  const transport = sessions.get(query.get("sessionId"));
  if (transport) await transport.handlePostMessage(request, response);
  else response.writeHead(404).end();
}

// A reference that is a query alone, and another name of the id.
async function serveGo(request, response, query) {
  if (request.method === "GET") {
    const write = response.write.bind(response);
    response.write = (text, ...rest) =>
      write(String(text).replace(/^(event: endpoint\ndata: )\S*\?sessionId=/, "$1?sessionid="), ...rest);
  } else {
    query.set("sessionId", query.get("sessionid"));
  }
  await serveSse(request, response, query);
}

createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  const serve = { "/mcp": serveHttp, "/sse": serveSse, "/messages": serveSse, "/go": serveGo }[pathname];
  if (serve) serve(request, response, searchParams).catch(() => response.destroy());
  else response.writeHead(404).end();
}).listen(port, "127.0.0.1");
