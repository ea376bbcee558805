package config

import (
	"fmt"
	"strings"
)

// expand replaces ${NAME}, ${NAME:-default} and ${file:PATH} in s; variable returns what stands for
// the text between the braces. As in a shell the default stands for a
// variable that is unset or empty; without one the variable must be set. "$${" is a literal "${";
// any other "$" is itself, so that passwords need no care. What a variable holds is not expanded
// again.
func expand(s string, variable func(body string) (string, *Fault)) (string, *Fault) {
	if !strings.Contains(s, "${") {
		return s, nil
	}
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1])
			b.WriteString("${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		body, rest, ok := strings.Cut(s[i+2:], "}")
		if !ok {
			return "", faultf("close it with }, or write $${ for a literal ${", "${ without a closing }")
		}
		value, f := variable(body)
		if f != nil {
			return "", f
		}
		b.WriteString(value)
		s = rest
	}
}

// variable evaluates what stands between "${" and "}".
func variable(body string, env func(string) (string, bool)) (string, *Fault) {
	name, fallback, hasFallback := strings.Cut(body, ":-")
	if !isVariableName(name) {
		return "", faultf("write ${NAME} or ${NAME:-default}, or $${ for a literal ${", "%s is not a variable", quote("${"+body+"}"))
	}
	if strings.Contains(fallback, "${") {
		return "", faultf("write a plain default", "the default of ${%s} contains another variable", shorten(name))
	}
	value, set := env(name)
	switch {
	case hasFallback && value == "":
		return fallback, nil
	case !set:
		return "", faultf(fmt.Sprintf("set it, or write ${%s:-default}", shorten(name)), "the environment variable %s is not set", shorten(name))
	}
	return value, nil
}

func isVariableName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		digit := '0' <= c && c <= '9'
		if !letter && (!digit || i == 0) {
			return false
		}
	}
	return s != ""
}
