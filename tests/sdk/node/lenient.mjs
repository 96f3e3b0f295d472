// A server of the official TypeScript SDK that opens a session for each initialize, whatever id that carries.
//
//     node lenient.mjs NAME PORT

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { json } from "node:stream/consumers";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { isInitializeRequest } from "@modelcontextprotocol/sdk/types.js";

const [name, port] = [process.argv[2], Number(process.argv[3])];
const sessions = new Map();

async function open() {
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => sessions.set(id, transport),
  });
  const mcp = new McpServer({ name, version: "1.0.0" });
  mcp.registerTool("name", {}, () => ({ content: [{ type: "text", text: name }] }));
  await mcp.connect(transport);
  return transport;
}

createServer(async (request, response) => {
  const message = request.method === "POST" ? await json(request) : undefined;
  const known = sessions.get(request.headers["mcp-session-id"]);
  const transport = isInitializeRequest(message) ? await open() : known;
  if (transport) await transport.handleRequest(request, response, message);
  else response.writeHead(404).end();
}).listen(port, "127.0.0.1");
