"""`sos completion SHELL`: a script that completes verbs, keys and preset names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sos.commands.presets import groups, keys_of, presets
from sos.commands.verbs import VERBS, Verb
from sos.commands.words import Known, places
from sos.errors import UserError

SHELLS = ("bash", "zsh", "fish")
BASH = """# bash: source <(sos completion bash)
_sos() {
  local word="$2" verb="${COMP_WORDS[1]}" known=""
  COMP_WORDBREAKS="${COMP_WORDBREAKS//=/}"
  if [ "$COMP_CWORD" -eq 1 ]; then known="@VERBS@"; else
    case "$verb" in
@CASES@
    esac
  fi
  COMPREPLY=($(compgen -W "$known" -- "$word") $(compgen -f -- "$word"))
  case "${COMPREPLY[0]}" in *=) compopt -o nospace ;; esac
}
complete -o filenames -F _sos sos
"""


@dataclass
class Options:
    """bash: source <(sos completion bash); zsh: source <(sos completion zsh); fish: sos completion fish | source."""

    shell: list[str] = places("SHELL", "bash, zsh or fish", most=1)


def schema_of(name: str) -> type:
    """Return the schema that the config `name` of conf/ has."""
    if name == "generate":
        from sos.commands.generate import GenerateRoot

        return GenerateRoot
    from sos.config import Config

    return Config


def words_of(verb: Verb) -> Iterator[str]:
    """Yield what can follow a verb: `key=`, and `group=NAME` for the files of conf/."""
    module = verb.module()
    roots: tuple[str, ...] = ()
    if verb.hydra:
        found = [key for key, _, _ in keys_of(schema_of("generate" if verb.name == "generate" else "config"))]
        yield from (f"{key.removeprefix('generate.')}=" for key in found)
        roots = ("all",)
    else:
        known = Known.of(module.Options)
        yield from (f"{key}=" for key in known.keys)
        if known.configs is not None:
            roots = known.configs.metadata["configs"]
            yield from (f"{k}=" for k, _, _ in keys_of(schema_of("config")) if k.partition(".")[0] in roots)
    if "all" in roots or "env" in roots:
        from sos.schema.folders import config_folder

        folder = config_folder()
        for group in groups(folder):
            sign = "+" if group == "sweep" else ""
            yield from (f"{sign}{group}={name}" for name, _ in presets(folder, group))


def script(shell: str) -> str:
    """Return the script for a shell."""
    verbs = [verb.name for verb in VERBS]
    if shell == "fish":
        lines = ["# fish: sos completion fish | source"]
        first = "not __fish_seen_subcommand_from " + " ".join(verbs)
        lines += [f"complete -c sos -n '{first}' -f -a {verb.name} -d '{verb.summary}'" for verb in VERBS]
        for verb in VERBS:
            seen = f"__fish_seen_subcommand_from {verb.name}"
            lines.append(f"complete -c sos -n '{seen}' -a '{' '.join(words_of(verb))}'")
        return "\n".join(lines) + "\n"
    cases = "\n".join(f'      {verb.name}) known="{" ".join(words_of(verb))}" ;;' for verb in VERBS)
    text = BASH.replace("@VERBS@", " ".join(verbs)).replace("@CASES@", cases)
    if shell == "zsh":
        head = "# zsh: source <(sos completion zsh)\nautoload -Uz bashcompinit && bashcompinit\n"
        return head + text.partition("\n")[2]
    return text


def run(options: Options) -> None:
    """Print the script."""
    shell = options.shell[0]
    if shell not in SHELLS:
        raise UserError(f"no completion for {shell!r}; known are {', '.join(SHELLS)}")
    print(script(shell), end="")
