# cmake --install BUILD [--prefix DIR]: the program, with its configurations where it looks for them (launch/presets.h).

install(TARGETS mudelta RUNTIME DESTINATION bin)
install(DIRECTORY launch/configs DESTINATION share/mudelta FILES_MATCHING PATTERN "*.textproto")
install(PROGRAMS launch/install_packages.sh launch/slurm.sh DESTINATION share/mudelta)
install(FILES launch/completion.bash DESTINATION share/bash-completion/completions RENAME mudelta)
install(FILES CHANGELOG.md CITATION.cff LICENSE README.md DESTINATION share/doc/mudelta)
install(DIRECTORY docs DESTINATION share/doc/mudelta FILES_MATCHING PATTERN "*.md" PATTERN results EXCLUDE)
