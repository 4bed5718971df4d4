// A text, for one of the sound vocabularies: the first byte says which, the second how. What is not UTF-8 becomes '?', since
// Python's str cannot hold it.
#include "small_model.hpp"
#include "utf8.hpp"

static std::string utf8_of(const uint8_t * data, size_t size) {
    std::string out;
    for (size_t i = 0; i < size;) {
        size_t length = 4;
        while (length > 0 && (i + length > size || !smith::is_utf8({ reinterpret_cast<const char *>(data + i), length }))) {
            length--;
        }
        out.append(length == 0 ? "?" : std::string(reinterpret_cast<const char *>(data + i), length));
        i += length == 0 ? 1 : length;
    }
    return out;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t * data, size_t size) {
    if (size < 2) {
        return 0;
    }
    const auto & models = sound_models();
    std::string  text   = utf8_of(data + 2, size - 2);
    if ((data[1] & 4) != 0) {  // long ones too
        for (int i = 0; i < 6 && text.size() < 100000; i++) {
            text += text;
        }
    }
    use(models[data[0] % models.size()].get(), text, (data[1] & 1) != 0, (data[1] & 2) != 0);
    return 0;
}
