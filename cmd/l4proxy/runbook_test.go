package main

import (
	"strings"
	"testing"
)

// Commands of l4proxy in console blocks and in the text can be run. The incidents of operations.md
// are run by TestIncidents.
func TestRunbookCommands(t *testing.T) {
	docs, commands := documents(t), 0
	for _, name := range []string{"docs/runbook.md", "docs/monitoring.md", "packaging/README.md"} {
		var lines []string
		for _, block := range consoleBlock.FindAllStringSubmatch(docs[name], -1) {
			for line := range strings.Lines(block[1]) {
				if command, ok := strings.CutPrefix(line, "$ "); ok {
					command, _, _ = strings.Cut(command, "   #")
					lines = append(lines, command)
				}
			}
		}
		for _, span := range inlineCommand.FindAllStringSubmatch(codeBlock.ReplaceAllString(docs[name], ""), -1) {
			if words := strings.Fields(span[1]); words[0] == "l4proxy" && words[1] != "crashed" {
				lines = append(lines, span[1])
			}
		}
		for _, line := range lines {
			if words := strings.Fields(line); words[0] == "l4proxy" {
				commands++
				if fault := commandFault(words); fault != "" {
					t.Errorf("%s: %s: %s", name, line, fault)
				}
			}
		}
	}
	if commands < 20 {
		t.Errorf("%d commands were found: the pattern is wrong", commands)
	}
}
