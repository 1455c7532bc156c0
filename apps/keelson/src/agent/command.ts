import { defineCommand } from "../cli/command.ts";
export const agentCommand = defineCommand({
  options: {},
  async run() {
    return 0;
  },
});
