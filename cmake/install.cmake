# cmake --install BUILD [--prefix DIR]: the program, with its configurations where it looks for them (launch/config/presets.h).

install(TARGETS mudelta RUNTIME DESTINATION bin)
install(DIRECTORY launch/configs DESTINATION share/mudelta FILES_MATCHING PATTERN "*.textproto")
install(PROGRAMS launch/scripts/install_packages.sh launch/scripts/slurm.sh launch/scripts/supervise.sh DESTINATION share/mudelta)
install(FILES launch/scripts/completion.bash DESTINATION share/bash-completion/completions RENAME mudelta)
install(FILES CHANGELOG.md CITATION.cff LICENSE README.md DESTINATION share/doc/mudelta)
install(DIRECTORY docs DESTINATION share/doc/mudelta FILES_MATCHING PATTERN "*.md" PATTERN results EXCLUDE)
