import { defineCommand } from "../cli/command.ts";
export const devCommand = defineCommand({ options: {}, async run() {
    return 0;
  } });
