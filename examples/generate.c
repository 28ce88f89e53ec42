/* SPDX-License-Identifier: Apache-2.0
 * Continues a text from C, printing it as it comes.
 *
 *   cc generate.c $(pkg-config --cflags --libs vibee) -o generate
 *   ./generate smollm2-135m "Once upon a time"
 */
#include <stdio.h>
#include <vibee/vibee.h>

static int on_event(const vibee_event* event, void* user) {
  (void)user;
  fwrite(event->text, 1, event->text_size, stdout);
  fflush(stdout);
  return 0; /* anything else stops */
}

static int failed(const char* what) {
  fprintf(stderr, "%s: %s\n", what, vibee_last_error());
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL PROMPT\n", argv[0]);
    return 2;
  }
  vibee_load_options load = {.struct_size = sizeof load};
  load.context = 1024;
  vibee_model* model;
  if (vibee_load(argv[1], &load, &model) != VIBEE_OK) return failed("load");

  vibee_generate_options options = {.struct_size = sizeof options};
  options.max_tokens = 64;
  options.temperature = 0.7f;
  options.seed = 1;
  vibee_stats stats = {.struct_size = sizeof stats};
  if (vibee_generate(model, argv[2], &options, on_event, NULL, &stats) != VIBEE_OK) {
    vibee_free(model);
    return failed("generate");
  }
  fprintf(stderr, "\n[%llu tokens at %.0f tokens/s]\n", (unsigned long long)stats.generated_tokens, stats.decode_rate);
  vibee_free(model);
  return 0;
}
