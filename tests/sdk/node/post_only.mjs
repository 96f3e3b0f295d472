// A server with the official TypeScript SDK, 1.x or 2.x, whose only route is POST /mcp: Express answers 404 to GET and
// DELETE, as to any path that it does not have.
//
//     node post_only.mjs NAME PORT 1|2

import { randomUUID } from "node:crypto";
import express from "express";

const [name, port, major] = [process.argv[2], Number(process.argv[3]), process.argv[4]];

async function sdk() {
  if (major === "1") {
    const { McpServer } = await import("@modelcontextprotocol/sdk/server/mcp.js");
    const { StreamableHTTPServerTransport } = await import("@modelcontextprotocol/sdk/server/streamableHttp.js");
    return [McpServer, StreamableHTTPServerTransport];
  }
  const { McpServer } = await import("@modelcontextprotocol/server");
  const { NodeStreamableHTTPServerTransport } = await import("@modelcontextprotocol/node");
  return [McpServer, NodeStreamableHTTPServerTransport];
}

const [McpServer, Transport] = await sdk();
const sessions = new Map();

const app = express();
app.use(express.json());
app.post("/mcp", async (request, response) => {
  const id = request.headers["mcp-session-id"];
  let transport = sessions.get(id);
  if (id && !transport) {
    response.status(404).end();
    return;
  }
  if (!transport) {
    transport = new Transport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (issued) => sessions.set(issued, transport),
    });
    const mcp = new McpServer({ name, version: "1.0.0" });
    let count = 0;
    mcp.registerTool("count", { description: "Counts the calls of this session." }, () => ({
      content: [{ type: "text", text: JSON.stringify({ replica: name, count: ++count }) }],
    }));
    await mcp.connect(transport);
  }
  await transport.handleRequest(request, response, request.body);
});
app.listen(port, "127.0.0.1");
