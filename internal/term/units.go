package term

import (
	"fmt"
	"time"
)

// Count writes a number with its noun.
func Count(n int, noun string) string {
	switch {
	case n == 1:
	case noun[len(noun)-1] == 'x':
		noun += "es"
	default:
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// Ago is a period as people say it: two units at most.
func Ago(d time.Duration) string {
	d = max(d, 0)
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

// Seconds is Ago for a number of seconds, as the admin API has them.
func Seconds(s float64) string { return Ago(time.Duration(s * float64(time.Second))) }

// Millis is a short time, given in seconds: "0.41ms", "12ms", "3.2s".
func Millis(s float64) string {
	switch ms := s * 1000; {
	case s <= 0:
		return "-"
	case ms < 0.995:
		return fmt.Sprintf("%.2fms", ms)
	case ms < 9.95:
		return fmt.Sprintf("%.1fms", ms)
	case ms < 999.5:
		return fmt.Sprintf("%.0fms", ms)
	}
	return fmt.Sprintf("%.1fs", s)
}

// Bytes is a number of bytes in decimal units, as in the configuration: 1 MB is 1,000,000 bytes.
func Bytes(n float64) string {
	if n < 999.5 {
		return fmt.Sprintf("%.0f B", max(n, 0))
	}
	for _, unit := range []string{"kB", "MB", "GB", "TB", "PB"} {
		n /= 1000
		switch {
		case n < 9.995:
			return fmt.Sprintf("%.2f %s", n, unit)
		case n < 99.95:
			return fmt.Sprintf("%.1f %s", n, unit)
		case n < 999.5:
			return fmt.Sprintf("%.0f %s", n, unit)
		}
	}
	return fmt.Sprintf("%.0f EB", n/1000)
}

// BytesRate is a number of bytes per second.
func BytesRate(n float64) string { return Bytes(n) + "/s" }

// Rate is a number of events per second.
func Rate(n float64) string {
	switch {
	case n < 0.05:
		return "0/s"
	case n < 9.95:
		return fmt.Sprintf("%.1f/s", n)
	}
	return fmt.Sprintf("%.0f/s", n)
}
