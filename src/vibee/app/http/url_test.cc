// SPDX-License-Identifier: Apache-2.0
#include "vibee/app/http/url.h"

#include <gtest/gtest.h>

namespace vibee {
namespace {

TEST(Url, IsReadInTheFormsThatPeopleWrite) {
  struct Case {
    const char* text;
    bool tls;
    const char *host, *path, *origin;
    int port;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"http://127.0.0.1:8080", false, "127.0.0.1", "", "http://127.0.0.1:8080", 8080},
           {"127.0.0.1:8080/", false, "127.0.0.1", "", "http://127.0.0.1:8080", 8080},
           {"localhost", false, "localhost", "", "http://localhost", 80},
           {"https://api.example.org/v1/", true, "api.example.org", "/v1", "https://api.example.org", 443},
           {"https://h:444/a/b", true, "h", "/a/b", "https://h:444", 444},
           {"http://[::1]:9/x", false, "::1", "/x", "http://[::1]:9", 9},
           {"[fe80::1]", false, "fe80::1", "", "http://[fe80::1]", 80}}) {
    const auto url = parse_url(c.text);
    ASSERT_TRUE(url.ok()) << url.status().message();
    EXPECT_EQ(url->tls, c.tls) << c.text;
    EXPECT_EQ(url->host, c.host) << c.text;
    EXPECT_EQ(url->port, c.port) << c.text;
    EXPECT_EQ(url->path, c.path) << c.text;
    EXPECT_EQ(url->origin(), c.origin) << c.text;
  }
}

TEST(Url, RefusesWhatIsNone) {
  for (const char* text : {"", "http://", "ftp://x", "http://x:0", "http://x:65536", "http://x:8y",
                           "http://x:", "http://[::1", "http://[::1]9", "http://a b", "http://x/\r\nEvil: 1",
                           "http://user@x", "http://x/?q", "http://x#y", "http://\xc3\xa4"}) {
    const auto url = parse_url(text);
    ASSERT_FALSE(url.ok()) << text;
    EXPECT_EQ(url.status().message().find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace vibee
