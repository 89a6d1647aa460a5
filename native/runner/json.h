// JSON, as much as the runner says.
#ifndef TF_PRUNE_OFA_RUNNER_JSON_H_
#define TF_PRUNE_OFA_RUNNER_JSON_H_

#include <cstdio>
#include <string>
#include <vector>

namespace tf_prune_ofa::runner {

inline std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (unsigned char c : text) {
    char code[8];
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += static_cast<char>(c);
    } else if (c < 0x20) {
      std::snprintf(code, sizeof code, "\\u%04x", c);
      quoted += code;
    } else {
      quoted += static_cast<char>(c);
    }
  }
  return quoted + "\"";
}

inline std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

template <typename Values, typename Function>
std::string List(const Values& values, Function function) {
  std::string text = "[";
  for (const auto& value : values) text += (text.size() > 1 ? "," : "") + function(value);
  return text + "]";
}

template <typename T>
std::string List(const std::vector<T>& values) {
  return List(values, [](const T& value) { return Number(static_cast<double>(value)); });
}

}  // namespace tf_prune_ofa::runner

#endif  // TF_PRUNE_OFA_RUNNER_JSON_H_
