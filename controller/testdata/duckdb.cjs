// Asks DuckDB what it finds in an archive: SQL by name on standard input, as JSON; rows by
// the same names on standard output.
"use strict";
const { DuckDBInstance } = require("@duckdb/node-api");

async function main() {
  let text = "";
  for await (const piece of process.stdin) text += piece;
  const connection = await (await DuckDBInstance.create(":memory:")).connect();
  const answers = {};
  for (const [name, sql] of Object.entries(JSON.parse(text))) {
    const reader = await connection.runAndReadAll(sql);
    answers[name] = reader.getRows();
  }
  // Numbers of 64 bits are texts, so that none of them is rounded.
  process.stdout.write(JSON.stringify(answers, (_, v) => (typeof v === "bigint" ? v.toString() : v)));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
