// Runs clients of the official TypeScript SDK, all at once, and prints what they did as JSON, like client.py.

/** `live` is the life of one client: it adds each replica that it meets to its argument and returns a transcript. */
export async function run(clients, live) {
  const done = { transcripts: {}, failures: [], met: {} };

  async function session() {
    const replicas = new Set();
    try {
      const transcript = JSON.stringify(await live(replicas));
      done.transcripts[transcript] = (done.transcripts[transcript] ?? 0) + 1;
      if (replicas.size !== 1) done.failures.push(`met ${[...replicas]}`);
    } catch (error) {
      done.failures.push(`${[...replicas]} ${error} ${error.cause ?? ""}`);
    }
    for (const name of replicas) done.met[name] = (done.met[name] ?? 0) + 1;
  }

  await Promise.all(Array.from({ length: clients }, session));
  console.log(JSON.stringify(done));
  process.exit(); // whatever stream may still be open
}
