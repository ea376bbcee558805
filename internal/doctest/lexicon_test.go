package doctest

import "regexp"

// A phrase is one that the project's texts do not use, because a reader has to translate it.
type phrase struct {
	pattern *regexp.Regexp
	// unless excuses a match when it fits the match and the text behind it: Go's regexps cannot
	// look ahead.
	unless *regexp.Regexp
}

// lexicon is the only list of phrases. The table in CONTRIBUTING.md explains it to people;
// TestLexiconIsDocumented keeps the two together. Phrases are matched without regard to case, and
// across line ends.
var lexicon = []phrase{
	// People are "who"; clients, backends and processes are "that".
	banned(`\bwhoever\b`),
	banned(`\bwhom\b`),
	banned(`\bthose\s+who\b`),
	banned(`\b(?:ones?|(?:client|backend|peer|server|listener|connection|loop|proxy|program|worker)s?|process(?:es)?)\s+who\b`),
	banned(`\bwho\s+(?:is|was|are|were)\s+(?:denied|left|new|served|waiting|asked)\b`),
	banned(`\bwho\s+(?:has|have|had|waits?|wants?|comes?|leaves?|serves?)\b`),
	banned(`(?:^|[.;]\s+)who\s[^.;?]{1,100}[.;]`),
	banned(`\b(?:no|some|every|any)body\b`).but(`(?i)^nobody"`), // the user "nobody"

	// Programs log, report, print and return.
	banned(`\b(?:is|are|was|were|be|been|being|not)\s+(?:told|said)\b`),
	banned(`\btells\b`).but(`(?i)^tells\s+\w+(?:\s+\w+){0,3}\s+(?:from|apart)\b`),
	banned(`\btold\b`),

	banned(`\b(?:left|leaves?|leaving|is|are|was|were|be|been|being|stays?|put)[\s-]+aside\b`),
	banned(`\b(?:goes|going|went)\s+on\b`),
	banned(`\bgo\s+on\s+(?:to|with)\b`),
	banned(`\b(?:stops?|stopped|stopping)\s+to\s`),
	banned(`\b(?:begins?|began|begun|beginning)\s+to\s+(?:accept|listen|serve)\b`),

	banned(`\beach\s+(?:\d+|N)\s*(?:ns|µs|ms|s|m|min|h|seconds?|minutes?|hours?)\b`),
	banned(`\b(?:bytes|calls|checks|clients|connections|descriptors|dials|packets|pipes|requests|segments|[gmk]i?bit|[gmk]i?b|\d+)\s+an?\s+` +
		`(?:backend|check|client|connection|core|direction|listener|loop|packet|pool|request|worker)\b`),
	banned(`\b(?:cpu|descriptors|line|pipe|rate|system\s+calls?|time|µs|ns)\s+an?\s+(?:check|client|connection|direction|gb|request)\b`),
	banned(`\bonce\s+a\s+(?:connection|request|client|packet)\b`),

	banned(`\bfor\s+so\s+long\b`),
	banned(`\bso\s+many\b`).but(`(?i)^so\s+many(?:\s+\w+){0,6}\s+that\b`),
	banned(`\bas\s+much\b`).but(`(?i)^as\s+much(?:\s+[\w-]+){0,4}\s+as\b`),
	banned(`\bin\s+vain\b`),
	banned(`\bfor\s+want\s+of\b`),
	banned(`\banew\b`),

	banned(`\b(?:has|have|had)\s+none\b`),
	banned(`\b(?:has|have|had)\s+not[.,;:)]`),
	banned(`\b(?:is|are|was|were)\s+not\s+had\b`),

	banned(`\b(?:gets?|takes?|taking|got|took|gives?(?:\s+back)?|given|has|have|had|holds?|waits?\s+for|wait(?:ed|ing)\s+for|` +
		`wants?)\s+(?:a|the\s+next|no|another)\s+place\b`),
	banned(`\b(?:no|free|more|many|few)\s+places?\s+(?:is|are|was|were|of|on|in|left|became?|becomes?)\b`),
	banned(`\bplaces?\s+(?:of\s+` + "`?" + `max_connections|in\s+(?:a|the)\s+queue|on\s+(?:a|the)\s+backend)\b`),

	banned(`\bthe\s+one\s+(?:that|which|who)\b[^.;]*\bthe\s+other\s+(?:one\s+)?(?:that|which|who)\b`),
	banned(`\bis\s+what\s+(?:it|they|this|that|these|those|the\s+\w+)\s+(?:is|are)\s+(?:there\s+)?for\b`),
}

func banned(pattern string) phrase {
	return phrase{pattern: regexp.MustCompile(`(?i)` + pattern)}
}

func (p phrase) but(unless string) phrase {
	p.unless = regexp.MustCompile(unless)
	return p
}

// finding is a phrase in a text.
type finding struct {
	offset int
	text   string
	phrase int // index into lexicon
}

func find(text string) (all []finding) {
	for i, p := range lexicon {
		for _, at := range p.pattern.FindAllStringIndex(text, -1) {
			if p.unless == nil || !p.unless.MatchString(text[at[0]:]) {
				all = append(all, finding{at[0], text[at[0]:at[1]], i})
			}
		}
	}
	return all
}
