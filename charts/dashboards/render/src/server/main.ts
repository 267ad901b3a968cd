// Shows the dashboards in a browser: `npm run serve -- --prometheus URL [--postgres URL]`.
//
// The URL of Postgres may carry a password: prefer the environment variable DATABASE_URL. Without either, the dashboard
// of leads has no data.
//
// Prints one line on stdout, `dashboards URL`, and serves until SIGTERM or SIGINT.

import { parseArgs } from "node:util";
import { serve } from "./serve.js";

const { values } = parseArgs({ options: { prometheus: { type: "string" }, postgres: { type: "string" } } });
if (!values.prometheus) {
  console.error("usage: npm run serve -- --prometheus URL [--postgres URL]");
  process.exit(2);
}
const { url, stop } = await serve(values.prometheus, values.postgres ?? process.env.DATABASE_URL);
console.log(`dashboards ${url}`);
for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => void stop().then(() => process.exit(0)));
