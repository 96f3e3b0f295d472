// Clients of the official TypeScript SDK, 1.x or 2.x, that call five times and ask for the stream in between, which they
// are refused; prints what they did as JSON, like client.mjs.
//
//     node caller.mjs 1|2 URL CLIENTS

import assert from "node:assert/strict";
import { run } from "./sessions.mjs";

const CALLS = 5;

const [major, url, clients] = [process.argv[2], new URL(process.argv[3]), Number(process.argv[4])];

async function sdk() {
  if (major === "1") {
    const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
    const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
    return [Client, StreamableHTTPClientTransport];
  }
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  return [Client, StreamableHTTPClientTransport];
}

const [Client, Transport] = await sdk();

async function live(replicas) {
  const client = new Client({ name: "test", version: "1.0.0" });
  const transport = new Transport(url);
  await client.connect(transport);
  assert(transport.sessionId, "no session");
  const transcript = [];
  for (let number = 1; number <= CALLS; number++) {
    const { content } = await client.callTool({ name: "count", arguments: {} });
    const { replica, count } = JSON.parse(content[0].text);
    replicas.add(replica);
    const headers = { "mcp-session-id": transport.sessionId, accept: "text/event-stream" };
    transcript.push(count, (await fetch(url, { headers })).status);
  }
  await client.close();
  return transcript;
}

await run(clients, live);
