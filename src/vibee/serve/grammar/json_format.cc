// SPDX-License-Identifier: Apache-2.0
#include "vibee/serve/grammar/json_format.h"

// RFC 3339; a leap day in leap years only, no leap seconds.
#define VIBEE_DATE                                                                                                   \
  "(?:[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[" \
  "1-9]|1[0-9]|2[0-8]))|(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)-02-29)"
#define VIBEE_TIME \
  "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
// RFC 1123, at most 8 labels of at most 30 characters: below the limit of 253 for all together.
#define VIBEE_LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,28}[A-Za-z0-9])?"
#define VIBEE_HOST VIBEE_LABEL "(?:\\." VIBEE_LABEL "){0,7}"
#define VIBEE_ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define VIBEE_OCTET "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define VIBEE_IPV4 VIBEE_OCTET "(?:\\." VIBEE_OCTET "){3}"
#define VIBEE_H16 "[0-9A-Fa-f]{1,4}"
#define VIBEE_PCHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"

namespace vibee {

std::string_view json_format(std::string_view name) {
  struct Format {
    std::string_view name, pattern;
  };
  static constexpr Format kFormats[] = {
      {"date", VIBEE_DATE},
      {"time", VIBEE_TIME},
      {"date-time", VIBEE_DATE "T" VIBEE_TIME},
      {"duration",
       "P(?:[0-9]+W|(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)(?:T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?"
       ")"
       "?|[0-9]+M(?:[0-9]+S)?|[0-9]+S))?|T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S))"},
      {"email", VIBEE_ATOM "(?:\\." VIBEE_ATOM ")*@" VIBEE_HOST},
      {"hostname", VIBEE_HOST},
      {"ipv4", VIBEE_IPV4},
      {"ipv6", "(?:" VIBEE_H16 ":){7}" VIBEE_H16 "|(?:" VIBEE_H16 ":){1,7}:|(?:" VIBEE_H16 ":){1,6}(?::" VIBEE_H16
               "){1}|(?:" VIBEE_H16 ":){1,5}(?::" VIBEE_H16 "){1,2}|(?:" VIBEE_H16 ":){1,4}(?::" VIBEE_H16
               "){1,3}|(?:" VIBEE_H16 ":){1,3}(?::" VIBEE_H16 "){1,4}|(?:" VIBEE_H16 ":){1,2}(?::" VIBEE_H16
               "){1,5}|" VIBEE_H16 ":(?::" VIBEE_H16 "){1,6}|:(?::" VIBEE_H16 "){1,7}|::"},
      {"uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"},
      {"uri", "[A-Za-z][A-Za-z0-9+.-]*://" VIBEE_HOST "(?::[0-9]{1,4})?(?:/" VIBEE_PCHAR "*)*(?:\\?(?:" VIBEE_PCHAR
              "|[/?])*)?(?:#(?:" VIBEE_PCHAR "|[/?])*)?"},
  };
  for (const Format& f : kFormats)
    if (f.name == name) return f.pattern;
  return {};
}

}  // namespace vibee
