/// Numbers and units. Locales change what strtod reads, so digits are looked at here.
#include "topology/units.h"

#include "base/numbers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct unit_name {
    const char *name;
    double scale;
    bool is_printed; ///< others are read only
} unit_name;

enum { MAX_NAMES = 11 };

/// Largest first.
static const struct {
    const char *what, *example;
    unit_name names[MAX_NAMES];
} units[] = {
    [HSDI_UNIT_BYTES] = {"an amount of memory",
                         "8 GiB",
                         {{"TiB", 0x1p40, true},
                          {"TB", 1e12, false},
                          {"GiB", 0x1p30, true},
                          {"GB", 1e9, false},
                          {"MiB", 0x1p20, true},
                          {"MB", 1e6, false},
                          {"KiB", 0x1p10, true},
                          {"kB", 1e3, false},
                          {"B", 1.0, true}}},
    [HSDI_UNIT_RATE] = {"a rate",
                        "25 GB/s",
                        {{"TB/s", 1e3, true},
                         {"GiB/s", 0x1p30 / 1e9, false},
                         {"GB/s", 1.0, true},
                         {"MiB/s", 0x1p20 / 1e9, false},
                         {"MB/s", 1e-3, true},
                         {"kB/s", 1e-6, false},
                         {"Gbit/s", 0.125, false},
                         {"Mbit/s", 0.125e-3, false}}},
    [HSDI_UNIT_OPERATIONS] = {"operations per second",
                              "500 Gop/s",
                              {{"Top/s", 1e3, true}, {"Gop/s", 1.0, true}, {"Mop/s", 1e-3, true}}},
    [HSDI_UNIT_TIME] =
        {"a time",
         "3 us",
         {{"s", 1e9, true}, {"ms", 1e6, true}, {"us", 1e3, true}, {"ns", 1.0, true}}},
    [HSDI_UNIT_POWER] = {"a power",
                         "65 W",
                         {{"kW", 1e3, true}, {"W", 1.0, true}, {"mW", 1e-3, true}}},
};

static double to_number(const char *text)
{
    hsdi_numbers before = hsdi_numbers_plain();
    double value = strtod(text, NULL);
    hsdi_numbers_back(before);
    return value;
}

/// Characters of a decimal number at the beginning: "12", "1.5", "2e9"; 0: none.
static size_t number_chars(const char *text)
{
    static const char digits[] = "0123456789";
    size_t n = strspn(text, digits);
    if (n == 0) {
        return 0;
    }
    if (text[n] == '.') {
        size_t behind = strspn(text + n + 1, digits);
        n += behind > 0 ? behind + 1 : 0;
    }
    if (text[n] == 'e' || text[n] == 'E') {
        size_t sign = text[n + 1] == '-' || text[n + 1] == '+';
        size_t behind = strspn(text + n + 1 + sign, digits);
        n += behind > 0 ? behind + 1 + sign : 0;
    }
    return n;
}

static const unit_name *find_unit(hsdi_unit unit, const char *name)
{
    for (const unit_name *u = units[unit].names; u->name; u++) {
        if (strcmp(u->name, name) == 0) {
            return u;
        }
    }
    return NULL;
}

static bool refuse(char *why, size_t cap, const char *text, const char *what, hsdi_unit unit)
{
    snprintf(why, cap, "\"%.40s\" %s: %s is wanted, such as \"%s\"", text, what, units[unit].what,
             units[unit].example);
    return false;
}

bool hsdi_quantity_parse(const char *text, hsdi_unit unit, double *out, char *why, size_t cap)
{
    if (text[0] == '-') {
        return refuse(why, cap, text, number_chars(text + 1) > 0 ? "is negative" : "is no number",
                      unit);
    }
    size_t n = number_chars(text);
    if (n == 0) {
        return refuse(why, cap, text, "is no number", unit);
    }
    const char *name = text + n + (text[n] == ' ');
    const unit_name *u = find_unit(unit, name);
    if (!*name) {
        return refuse(why, cap, text, "has no unit", unit);
    }
    if (!u) {
        return refuse(why, cap, text, "has another unit", unit);
    }
    double value = to_number(text) * u->scale;
    if (!(value <= (unit == HSDI_UNIT_BYTES ? 0x1p62 : 1e18))) {
        return refuse(why, cap, text, "is too large", unit);
    }
    *out = value;
    return true;
}

/// value / scale with so many digits as give the value again; false: none do.
static bool print_exactly(double value, const unit_name *u, char *out)
{
    hsdi_numbers before = hsdi_numbers_plain();
    bool exact = false;
    double shown = value / u->scale;
    bool is_whole = shown < 1e15 && fmod(shown, 1.0) == 0.0;
    for (int digits = 1; digits <= 17 && !exact; digits++) {
        snprintf(out, HSDI_QUANTITY_CHARS, is_whole ? "%.*f" : "%.*g", is_whole ? 0 : digits,
                 shown);
        exact = strtod(out, NULL) * u->scale == value;
    }
    hsdi_numbers_back(before);
    size_t n = strlen(out);
    snprintf(out + n, HSDI_QUANTITY_CHARS - n, " %s", u->name);
    return exact;
}

void hsdi_quantity_print(double value, hsdi_unit unit, char out[HSDI_QUANTITY_CHARS])
{
    const unit_name *u = units[unit].names, *one = find_unit(unit, "B");
    for (; u->name; u++) {
        bool fits = u->is_printed && value >= u->scale;
        // Bytes are whole numbers: the unit must divide them.
        if (fits && (unit != HSDI_UNIT_BYTES || fmod(value, u->scale) == 0.0) &&
            print_exactly(value, u, out)) {
            return;
        }
        one = u->scale == 1.0 ? u : one;
    }
    (void)print_exactly(value, one, out); // exact: %.17g of the value itself
}

void hsdi_quantity_show(double value, hsdi_unit unit, char out[HSDI_QUANTITY_CHARS])
{
    const unit_name *u = units[unit].names, *best = u;
    for (; u->name; u++) {
        best = u->is_printed ? u : best;
        if (u->is_printed && value >= u->scale) {
            break;
        }
    }
    double shown = value / best->scale;
    hsdi_numbers before = hsdi_numbers_plain();
    snprintf(out, HSDI_QUANTITY_CHARS, shown < 999.5 ? "%.3g %s" : "%.0f %s", shown, best->name);
    hsdi_numbers_back(before);
}
