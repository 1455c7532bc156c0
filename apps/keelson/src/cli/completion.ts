import { KeelsonError } from "@keelson/service";
import { commands } from "../commands.ts";
import { type Command, defineCommand } from "./command.ts";

interface Words {
  /** Command words that lead here, `token create`. */
  path: string;
  /** What may follow: subcommands or flags. */
  next: readonly string[];
}

/** `keelson completion bash|zsh|fish`: a static script made from the command table, so it needs no process per tab. */
export const completionCommand = defineCommand({
  options: {},
  usage: "bash|zsh|fish",
  async run({ args, print }) {
    const words = await collectWords("", commands);
    const writer = scripts[args[0] ?? ""];
    if (writer === undefined) {
      throw new KeelsonError("cli/unknown-shell", `no completion for "${args[0] ?? ""}"`, {
        hint: "use one of: bash, zsh, fish; for example: source <(keelson completion bash)",
      });
    }
    print(writer(words));
    return 0;
  },
});

async function collectWords(path: string, level: readonly Command[]): Promise<Words[]> {
  const result: Words[] = [{ path, next: level.map((command) => command.name) }];
  for (const command of level) {
    const inner = `${path} ${command.name}`.trim();
    if ("children" in command) {
      result.push(...(await collectWords(inner, command.children)));
    } else {
      const { options } = await command.load();
      const flags = Object.entries(options).filter(([, spec]) => !spec.hidden);
      result.push({ path: inner, next: [...flags.map(([name]) => `--${name}`), "--help"] });
    }
  }
  return result;
}

const scripts: Record<string, (words: readonly Words[]) => string> = {
  bash: (words) => `_keelson() {
  local path="" word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) ;; *) path="\${path:+$path }$word" ;; esac
  done
  local next=""
  case "$path" in
${words.map(({ path, next }) => `    "${path}") next="${next.join(" ")}" ;;`).join("\n")}
  esac
  COMPREPLY=($(compgen -W "$next" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _keelson keelson`,
  zsh: (words) => `#compdef keelson
_keelson() {
  local path="" word
  for word in "\${words[@]:1:$((CURRENT - 2))}"; do
    case "$word" in -*) ;; *) path="\${path:+$path }$word" ;; esac
  done
  case "$path" in
${words.map(({ path, next }) => `    "${path}") compadd -- ${next.join(" ")} ;;`).join("\n")}
  esac
}
compdef _keelson keelson`,
  fish: (words) =>
    [
      "function __keelson_path",
      "  string join ' ' -- (string match -v -- '-*' (commandline -opc)[2..-1])",
      "end",
      "complete -c keelson -f",
      ...words.map(
        ({ path, next }) => `complete -c keelson -n 'test (__keelson_path) = "${path}"' -a '${next.join(" ")}'`,
      ),
    ].join("\n"),
};
