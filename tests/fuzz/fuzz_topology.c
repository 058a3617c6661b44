/// Any bytes as a description file.
///
/// Looks for: reads outside the text (it lies in a block of its own size, under a sanitizer),
/// errors without line, column and a sentence, machines that are read but fail the check, and
/// machines that differ once they are written and read again.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <topology/describe.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static void check_machine(const hsdi_machine *m, hsdi_machine *again)
{
    char *text = NULL;
    must(hsdi_machine_check(m, NULL) == HSD_OK);
    must(hsdi_describe_print(m, &text, NULL) == HSD_OK);
    must(hsdi_describe_parse(text, strlen(text), "again", again, NULL) == HSD_OK);
    must(memcmp(m, again, sizeof *m) == 0);
    free(text);
    for (int i = 0; i < m->n_devices && i < 8; i++) {
        for (int k = 0; k < m->n_devices && k < 8; k++) {
            hsdi_distance d = hsdi_machine_distance(m, i, k), back = hsdi_machine_distance(m, k, i);
            must(d.latency_ns >= 0.0 && d.gbps > 0.0 && d.latency_ns == back.latency_ns);
            must(hsdi_machine_shares_units(m, i, k) == hsdi_machine_shares_units(m, k, i));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static hsdi_machine machine, again;
    hsd_error err = {0};
    char *text = malloc(size > 0 ? size : 1);
    must(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    hsd_status status = hsdi_describe_parse(text, size, "file", &machine, &err);
    free(text);
    if (status == HSD_OK) {
        check_machine(&machine, &again);
    } else {
        must(status == HSD_EFORMAT && err.status == status && strcmp(err.where, "file") == 0);
        must(err.line > 0 && err.column > 0 && err.message[0]);
    }
    return 0;
}
