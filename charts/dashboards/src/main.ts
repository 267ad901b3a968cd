// Writes the dashboards of the chart. With a folder as its argument, it writes them there instead.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { accountBoard } from "./account.js";
import { campaignBoard } from "./campaign.js";
import { campaigns } from "./campaigns.js";
import { leadsBoard } from "./leads.js";
import { broken } from "./rules.js";
import { service } from "./service.js";
import { tidied } from "./tidy.js";

const boards = { campaigns, campaign: campaignBoard, account: accountBoard, service, leads: leadsBoard };
const ours = join(dirname(fileURLToPath(import.meta.url)), "../../campaign-metrics/files/dashboards");
const folder = process.argv[2] ?? ours;

mkdirSync(folder, { recursive: true });
for (const [name, make] of Object.entries(boards)) {
  const board = tidied(make().build());
  const wrong = broken(board);
  if (wrong.length > 0) {
    console.error(wrong.join("\n"));
    process.exit(1);
  }
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(board, null, 2)}\n`);
  console.error(`wrote ${name}.json: ${(board.panels ?? []).length} panels and headings`);
}
