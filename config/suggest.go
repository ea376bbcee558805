package config

import "strings"

// suggest returns the candidate that word was probably meant to be, or "".
func suggest(word string, candidates []string) string {
	// A name is rarely mistyped among thousands, and a comparison with each for each mistake would
	// take quadratic time.
	if len(candidates) > 200 || len(word) > 64 {
		return ""
	}
	best, bestDistance := "", len(word)/3+2
	lower := strings.ToLower(word)
	for _, c := range candidates {
		lc := strings.ToLower(c)
		d := editDistance(lower, lc)
		if d > 2 && min(len(lc), len(lower)) >= 3 && (strings.Contains(lower, lc) || strings.Contains(lc, lower)) {
			d = 2 // "warning" for "warn", "uring" for "io_uring"
		}
		if d < bestDistance && d < max(len(lower), len(lc)) {
			best, bestDistance = c, d
		}
	}
	return best
}

// didYouMean returns a fix for a word that is none of candidates: the nearest, else the whole
// choice when it is small.
func didYouMean(word string, candidates []string) string {
	if s := suggest(word, candidates); s != "" {
		return "did you mean " + quote(s) + "?"
	}
	if len(candidates) == 0 || len(candidates) > 20 {
		return ""
	}
	return "write " + oneOf(candidates)
}

// oneOf joins words as "a, b or c".
func oneOf(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// editDistance is the number of insertions, deletions, replacements and swaps of neighbours that
// turn a into b (optimal string alignment), by bytes.
func editDistance(a, b string) int {
	prev2 := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
