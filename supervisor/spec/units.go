package spec

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"
)

// maxDuration bounds every duration of the configuration: a session is a day
// at most, and sums of a few of them stay far from overflow.
const maxDuration = 24 * time.Hour

var (
	durationForm = regexp.MustCompile(`^(\d+(\.\d+)?(h|m|s|ms))+$`)
	bareNumber   = regexp.MustCompile(`^\d+(\.\d+)?$`)
	sizeForm     = regexp.MustCompile(`^(\d{1,15}(?:\.\d{1,6})?) ?([KMGT]?i?B)$`)
	looseSize    = regexp.MustCompile(`^(?i)(\d+(?:\.\d+)?) ?([kmgt])i?b?$`)
)

// parseDuration reads "10s", "1m30s", "150ms" and a bare 0.
func parseDuration(text string) (d time.Duration, problem, hint string) {
	const example = "write it like 10s, 1m30s or 150ms"
	switch {
	case text == "0":
		return 0, "", ""
	case bareNumber.MatchString(text):
		return 0, fmt.Sprintf("the duration %s has no unit", text), fmt.Sprintf("add a unit: %ss", text)
	case !durationForm.MatchString(text):
		return 0, fmt.Sprintf("%s is not a duration", quote(text)), example
	}
	d, err := time.ParseDuration(text)
	if err != nil || d > maxDuration {
		return 0, fmt.Sprintf("the duration %s is longer than a day", quote(text)), "24h is the longest"
	}
	return d, "", ""
}

// parseSize reads "512MB", "1.5GB" and a bare 0. Units are binary: 1GB is 2^30
// bytes, and so is 1GiB.
func parseSize(text string) (n int64, problem, hint string) {
	if text == "0" {
		return 0, "", ""
	}
	if bareNumber.MatchString(text) {
		return 0, fmt.Sprintf("the size %s has no unit", text), fmt.Sprintf("add a unit: %sMB or %sGB", text, text)
	}
	m := sizeForm.FindStringSubmatch(text)
	if m == nil {
		if l := looseSize.FindStringSubmatch(text); l != nil {
			return 0, fmt.Sprintf("%s is not a size", quote(text)), fmt.Sprintf("write it as %s%sB", l[1], string(l[2][0]&^0x20))
		}
		return 0, fmt.Sprintf("%s is not a size", quote(text)), "write it like 512MB or 1.5GB"
	}
	shift := map[byte]float64{'B': 1, 'i': 1, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40}
	f, err := strconv.ParseFloat(m[1], 64)
	f *= shift[m[2][0]]
	if err != nil || f >= math.MaxInt64/2 {
		return 0, fmt.Sprintf("the size %s is larger than any machine", quote(text)), "write it like 512MB or 1.5GB"
	}
	return int64(f), "", ""
}

// sizeText writes a number of bytes as the configuration would.
func sizeText(n int64) string {
	for _, u := range []struct {
		name string
		unit int64
	}{{"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}} {
		if n >= u.unit {
			return strconv.FormatFloat(math.Round(float64(n)/float64(u.unit)*100)/100, 'f', -1, 64) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// durationText writes a duration as the configuration would: 1m rather than 1m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if n := len(s); n > 2 && s[n-2:] == "0s" && s[n-3] == 'm' {
		s = s[:n-2]
	}
	if n := len(s); n > 2 && s[n-2:] == "0m" && s[n-3] == 'h' {
		s = s[:n-2]
	}
	return s
}

// quote shows a piece of the user's text inside a message, shortened: a message
// is read in a list.
func quote(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}
