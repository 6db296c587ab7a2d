package report

import "strings"

var units = [...]string{"nol", "satu", "dua", "tiga", "empat", "lima", "enam", "tujuh", "delapan", "sembilan", "sepuluh", "sebelas"}

// Words writes a number from 0 to 999,999 in Indonesian words, as letters of the
// agencies write dates: 2026 is "dua ribu dua puluh enam".
func Words(n int) string {
	join := func(head string, rest int) string {
		if rest == 0 {
			return head
		}
		return head + " " + Words(rest)
	}
	switch {
	case n < 0 || n >= 1_000_000:
		return ""
	case n < 12:
		return units[n]
	case n < 20:
		return units[n-10] + " belas"
	case n < 100:
		return join(units[n/10]+" puluh", n%10)
	case n < 200:
		return join("seratus", n-100)
	case n < 1000:
		return join(units[n/100]+" ratus", n%100)
	case n < 2000:
		return join("seribu", n-1000)
	}
	return strings.TrimSpace(join(Words(n/1000)+" ribu", n%1000))
}
