/* SPDX-License-Identifier: Apache-2.0 */
#include "base/money.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static bool listed(const char *list, const char *code)
{
    for (const char *p = list; (p = strstr(p, code)) != NULL; p++)
        if ((p - list) % 4 == 0)
            return true;
    return false;
}

int money_add(int64_t a, int64_t b, int64_t *out, struct err *e)
{
    if (__builtin_add_overflow(a, b, out))
        return ERR(e, ERR_INVALID, "amount out of range");
    return 0;
}

int money_mul(int64_t a, int64_t b, int64_t *out, struct err *e)
{
    if (__builtin_mul_overflow(a, b, out))
        return ERR(e, ERR_INVALID, "amount out of range");
    return 0;
}

static int fraction(int64_t amount, int64_t part, int64_t whole, int64_t *out, struct err *e)
{
    if (amount < 0)
        return ERR(e, ERR_INVALID, "negative amount");
    if (part < 0 || part > whole)
        return ERR(e, ERR_INVALID, "share is not between 0 and %lld", (long long)whole);
    *out = (int64_t)((__int128)amount * part / whole);
    return 0;
}

int money_bp(int64_t amount, int64_t bp, int64_t *out, struct err *e)
{
    return fraction(amount, bp, 10000, out, e);
}

int money_split(int64_t price, int fee_bp, int pct, struct money_split *out, struct err *e)
{
    int64_t gross, commission;
    if (fee_bp < 0 || fee_bp > 10000)
        return ERR(e, ERR_INVALID, "fee is not between 0 and 10000 basis points");
    if (fraction(price, 10000 - fee_bp, 10000, &gross, e) ||
        fraction(price, pct, 100, &commission, e))
        return -1;
    if (commission > gross)
        commission = gross;
    *out = (struct money_split){
        .platform = price - gross, .creator = gross - commission, .commission = commission};
    return 0;
}

int money_exponent(const char *currency)
{
    static const char zero[] =
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF ";
    static const char three[] = "BHD IQD JOD KWD LYD OMR TND ";
    static const char two[] = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB "
                              "BRL BSD BTN BWP BYN BZD CAD CDF CHF "
                              "CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL "
                              "GHS GIP GMD GTQ GYD HKD HNL HTG HUF "
                              "IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD "
                              "MDL MGA MKD MMK MNT MOP MRU MUR MVR "
                              "MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR "
                              "RON RSD RUB SAR SBD SCR SDG SEK SGD "
                              "SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS "
                              "UAH USD UYU UZS VED VES WST XCD YER "
                              "ZAR ZMW ZWL ";
    if (!currency || strlen(currency) != 3 || strchr(currency, ' '))
        return -1;
    return listed(two, currency)     ? 2
           : listed(zero, currency)  ? 0
           : listed(three, currency) ? 3
                                     : -1;
}

int money_parse(const char *s, const char *currency, int64_t *out, struct err *e)
{
    int exponent = money_exponent(currency);
    if (exponent < 0)
        return ERR(e, ERR_INVALID, "unknown currency");
    const char *dot = strchr(s, '.');
    size_t whole = dot ? (size_t)(dot - s) : strlen(s);
    size_t decimals = dot ? strlen(dot + 1) : 0;
    if (whole == 0 || whole > 19 || (dot && decimals == 0) || decimals > (size_t)exponent)
        return ERR(e, ERR_INVALID, "not an amount in %s", currency);
    char digits[32];
    memcpy(digits, s, whole);
    if (decimals)
        memcpy(digits + whole, dot + 1, decimals);
    size_t n = whole + decimals;
    for (size_t i = decimals; i < (size_t)exponent; i++)
        digits[n++] = '0';
    /* str_to_int64 would take a sign, which an amount never has. */
    if (digits[0] == '-' || str_to_int64((struct str){digits, n}, out))
        return ERR(e, ERR_INVALID, "not an amount in %s", currency);
    return 0;
}

int money_format(int64_t amount, const char *currency, char out[40], struct err *e)
{
    int exponent = money_exponent(currency);
    if (exponent < 0)
        return ERR(e, ERR_INVALID, "unknown currency");
    uint64_t v = amount < 0 ? -(uint64_t)amount : (uint64_t)amount, unit = 1;
    for (int i = 0; i < exponent; i++)
        unit *= 10;
    const char *sign = amount < 0 ? "-" : "";
    if (exponent == 0)
        snprintf(out, 40, "%s%llu", sign, (unsigned long long)v);
    else
        snprintf(out, 40, "%s%llu.%0*u", sign, (unsigned long long)(v / unit), exponent,
                 (unsigned)(v % unit));
    return 0;
}

/* "16250.50" -> 1625050 and scale 2. */
static int rate_parse(const char *s, uint64_t *mantissa, int *scale)
{
    int digits = 0, dot = 0;
    *mantissa = 0;
    *scale = 0;
    for (const char *p = s; *p; p++) {
        if (*p == '.' && !dot && p > s) {
            dot = 1;
            continue;
        }
        if (*p < '0' || *p > '9' || (digits += digits || *p != '0') > 18)
            return -1;
        *mantissa = *mantissa * 10 + (uint64_t)(*p - '0');
        if (dot && ++*scale > 18)
            return -1;
    }
    return *mantissa > 0 ? 0 : -1;
}

int money_convert(int64_t amount, const char *from, const char *to, const char *rate, int64_t *out,
                  struct err *e)
{
    int ef = money_exponent(from), et = money_exponent(to), scale;
    uint64_t mantissa;
    if (ef < 0 || et < 0 || amount < 0)
        return ERR(e, ERR_INVALID, "unknown currency, or an amount below zero");
    if (rate_parse(rate, &mantissa, &scale))
        return ERR(e, ERR_INVALID, "not a positive decimal rate");
    unsigned __int128 v = (unsigned __int128)(uint64_t)amount * mantissa, unit = 1, up = 1;
    for (int i = et; i > ef; i--)
        up *= 10;
    for (int i = scale + (ef > et ? ef - et : 0); i > 0; i--)
        unit *= 10;
    if (__builtin_mul_overflow(v, up, &v) || (v = (v + unit / 2) / unit) > INT64_MAX)
        return ERR(e, ERR_INVALID, "the converted amount is too large");
    *out = (int64_t)v;
    return 0;
}
