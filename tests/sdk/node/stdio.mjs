// A server of the official TypeScript SDK on standard input and output, for bridges that make servers of HTTP of it.
//
//     REPLICA=NAME node stdio.mjs

import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";

const replica = process.env.REPLICA;
const mcp = new McpServer({ name: replica, version: "1.0.0" });
let count = 0;
mcp.registerTool("count", { description: "Counts the calls of this process." }, () => ({
  content: [{ type: "text", text: JSON.stringify({ replica, count: ++count }) }],
}));
await mcp.connect(new StdioServerTransport());
process.stdin.on("end", () => process.exit()); // its bridge was killed
