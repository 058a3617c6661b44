/// Any bytes as a profile.yaml: what is read must print and be read again as the same.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <topology/profile.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hsdi_profile *profile = NULL, *again = NULL;
    char *text = NULL, *twice = NULL;
    size_t n = 0, n_again = 0;
    hsd_error err;
    if (hsdi_profile_parse(data, size, "fuzz", &profile, &err) == HSD_OK) {
        must(hsdi_profile_print(profile, &text, &n, &err) == HSD_OK);
        must(hsdi_profile_parse(text, n, "fuzz", &again, &err) == HSD_OK);
        must(hsdi_profile_print(again, &twice, &n_again, &err) == HSD_OK);
        must(n == n_again && memcmp(text, twice, n) == 0);
    }
    free(text);
    free(twice);
    hsdi_profile_free(&profile);
    hsdi_profile_free(&again);
    return 0;
}
