/// See numbers.h.
#include "base/numbers.h"

hsdi_numbers hsdi_numbers_plain(void)
{
    hsdi_numbers numbers = {.plain = newlocale(LC_ALL_MASK, "C", (locale_t)0)};
    if (numbers.plain) {
        numbers.before = uselocale(numbers.plain);
    }
    return numbers;
}

void hsdi_numbers_back(hsdi_numbers before)
{
    if (before.plain) {
        uselocale(before.before);
        freelocale(before.plain);
    }
}
