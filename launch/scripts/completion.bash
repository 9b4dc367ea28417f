# Completion for bash, by the program's own --help: commands, options, presets, files. Installed, bash loads it by
# itself; else: source launch/scripts/completion.bash
_mudelta() {
  local program=$1 word=$2 words
  if [[ $COMP_CWORD -eq 1 ]]; then
    words=$("$program" --help | sed -n '/^Subcommands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p')
  elif [[ $word == -* ]]; then
    words=$("$program" "${COMP_WORDS[1]}" --help | grep -oE -- '--[a-z][a-z0-9-]*' | sort -u)
  elif [[ ${COMP_WORDS[1]} =~ ^(configs|coord-check|sweep|train)$ ]]; then
    words=$("$program" configs | sed '/^$/,$d; s/ .*//')
  fi
  mapfile -t COMPREPLY < <(compgen -W "${words:-}" -- "$word"; [[ $word == -* ]] || compgen -f -- "$word")
}
complete -o filenames -F _mudelta mudelta
