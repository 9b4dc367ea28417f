# cmake -DINPUT=FILE -DOUTPUT=FILE.cpp -DNAME=SYMBOL -P embed.cmake: the bytes of a file as the std::string_view
# mudelta::SYMBOL.
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
string(REGEX REPLACE "(................................................................................)" "\\1\n"
       bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <string_view>

namespace mudelta {
static constexpr unsigned char kBytes[] = {
${bytes}};
extern const std::string_view ${NAME};
const std::string_view ${NAME}(reinterpret_cast<const char*>(kBytes), sizeof(kBytes));
}  // namespace mudelta
")
