// Clients of the official TypeScript SDK that call a tool when they are asked to, with sessions that they never start
// again by themselves. A client speaks HTTP, or is behind a bridge: a command that is an MCP server on standard input and
// output, and a client of HTTP.
//
//     node asked.mjs TOOL '{"NAME": "URL", "OTHER": ["COMMAND", "ARGUMENT", ...], ...}'
//
// Prints {"name": NAME} for each client with a session, then reads names, one a line, and prints for each the result:
//
//     {"name": NAME, "text": what the tool has said}
//     {"name": NAME, "error": why it was not called}

import { createInterface } from "node:readline";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const TIMEOUT = 60_000; // milliseconds, for one call

const [tool, wanted] = [process.argv[2], JSON.parse(process.argv[3])];
const clients = {};

function say(what) {
  console.log(JSON.stringify(what));
}

function transport(to) {
  if (typeof to === "string") return new StreamableHTTPClientTransport(new URL(to));
  const [command, ...args] = to;
  return new StdioClientTransport({ command, args, env: process.env, stderr: "ignore" });
}

async function open(name) {
  const client = new Client({ name, version: "1.0.0" });
  await client.connect(transport(wanted[name]), { timeout: TIMEOUT });
  clients[name] = client;
  say({ name });
}

async function call(name) {
  try {
    const { content, isError } = await clients[name].callTool({ name: tool, arguments: {} }, undefined, { timeout: TIMEOUT });
    if (isError) throw new Error(content[0].text);
    say({ name, text: content[0].text });
  } catch (error) {
    say({ name, error: String(error) });
  }
}

await Promise.all(Object.keys(wanted).map((name) => open(name).catch((error) => say({ name, error: String(error) }))));
for await (const name of createInterface({ input: process.stdin })) call(name);
for (const client of Object.values(clients)) await client.close().catch(() => {});
process.exit();
