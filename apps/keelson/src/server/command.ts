import { defineCommand } from "../cli/command.ts";
export const serverCommand = defineCommand({
  options: {},
  async run() {
    return 0;
  },
});
