/// Any bytes as a kept table of tiles.
///
/// Looks for: reads outside the text (it lies in a block of its own size, under a sanitizer), and
/// tables that are taken though they are not what would be written for them.
#include <devices/tiles.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char again[HSDI_TILE_TEXT_BYTES];
    hsdi_tiles tiles;
    char *text = malloc(size > 0 ? size : 1);
    must(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    if (hsdi_tiles_parse(text, size, &tiles)) {
        must(hsdi_tiles_write(&tiles, again) == size && memcmp(again, text, size) == 0);
        for (int t = 0; t < HSDI_N_TILE_TYPES; t++) {
            for (int c = 0; c < HSDI_TILE_CLASSES; c++) {
                must(hsdi_tile_is_legal(&tiles.of[t][c], hsdi_tile_type(t)));
            }
        }
    }
    free(text);
    return 0;
}
