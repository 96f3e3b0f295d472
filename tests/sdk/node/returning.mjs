// A client of the official TypeScript SDK that comes back with the id of a session that is lost, like returning.py.
//
//     node returning.mjs URL

import { createInterface } from "node:readline";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { InitializeResultSchema, LATEST_PROTOCOL_VERSION } from "@modelcontextprotocol/sdk/types.js";

const url = new URL(process.argv[2]);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function call(client) {
  return (await client.callTool({ name: "name", arguments: {} })).content[0].text;
}

async function begin(sessionId) {
  const client = new Client({ name: "test", version: "1.0.0" });
  const transport = new StreamableHTTPClientTransport(url, { sessionId });
  await client.connect(transport); // with an id the SDK sends no initialize
  return [client, transport];
}

const [first, transport] = await begin();
const old = transport.sessionId;
console.log(JSON.stringify({ id: old, replica: await call(first) }));
await first.close();
await lines.next();

const [client, again] = await begin(old);
const refused = await call(client).then(
  () => "",
  (error) => String(error.code),
);
const params = { protocolVersion: LATEST_PROTOCOL_VERSION, capabilities: {}, clientInfo: { name: "test", version: "1" } };
await client.request({ method: "initialize", params }, InitializeResultSchema);
await client.notification({ method: "notifications/initialized" });
console.log(JSON.stringify({ id: again.sessionId, replica: await call(client), refused }));
process.exit();
