// SPDX-License-Identifier: Apache-2.0
// Any bytes as a chat template over a fixed conversation: it renders or says why not, soon and within its limits.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "vibee/model/token/template_parser.h"
#include "vibee/model/token/template_run.h"

namespace {

vibee::TemplateValue conversation() {
  using vibee::TemplateValue;
  const auto text = [](const char* s) { return TemplateValue::of(std::string(s)); };
  const auto message = [&](const char* role, const char* content) {
    return TemplateValue::dict({{text("role"), text(role)}, {text("content"), text(content)}});
  };
  return TemplateValue::dict({{text("messages"), TemplateValue::list({message("system", "Be brief."),
                                                                      message("user", " Gr\xc3\xbc\xc3\x9f Gott \n"),
                                                                      message("assistant", "<think>x</think>y")})},
                              {text("add_generation_prompt"), TemplateValue::of(true)},
                              {text("bos_token"), text("<s>")},
                              {text("n"), TemplateValue::of(int64_t(-7))},
                              {text("x"), TemplateValue::of(2.5)},
                              {text("none"), TemplateValue::none()}});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto root = vibee::parse_template(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!root.ok()) return 0;
  vibee::TemplateLimits limits;
  limits.steps = 20000;
  limits.made_bytes = 4 << 20;
  limits.output_bytes = 1 << 20;
  (void)vibee::TemplateInterpreter(conversation(), limits, std::time_t(0)).run(**root).ok();
  return 0;
}
