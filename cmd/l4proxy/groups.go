package main

import (
	"slices"

	"github.com/spf13/cobra"
)

// groups are the headings of 'l4proxy help', with the commands below each.
var groups = []struct {
	title    string
	commands []string
}{
	{"Run the proxy:", []string{"run", "demo", "check", "doctor"}},
	{"Look at a running proxy:", []string{"status", "top", "conns", "events", "explain", "bans"}},
	{"Change a running proxy:", []string{"drain", "weight", "kill", "ban", "unban", "debug", "reload", "upgrade"}},
	{"Tools:", []string{"schema", "completion", "man", "version", "help"}},
}

// addGroups puts the commands into their groups.
func addGroups(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, cmd := range root.Commands() {
			if slices.Contains(g.commands, cmd.Name()) {
				cmd.GroupID = g.title
			}
		}
	}
}
