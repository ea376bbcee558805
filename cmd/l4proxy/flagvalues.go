package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// valueNames are what the help calls the value of a flag, by the name of the flag. A flag that is
// missing here has the name of its type.
var valueNames = map[string]string{
	"admin":      "ADDRESS",
	"backend":    "ADDRESS",
	"binary":     "FILE",
	"config":     "FILE",
	"id":         "ID",
	"listen":     "ADDRESS",
	"listener":   "NAME",
	"pid-file":   "FILE",
	"pool":       "NAME",
	"rate":       "RATE",
	"sort":       "ORDER",
	"token-file": "FILE",
}

// namedValue is the value of a flag under another name for the help.
type namedValue struct {
	pflag.Value
	name string
}

func (v namedValue) Type() string { return v.name }

// nameValues gives the values of all flags the names that the help shows: FILE says more than
// string.
func nameValues(root *cobra.Command) {
	for _, cmd := range append(root.Commands(), root) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if name := valueNames[f.Name]; name != "" && f.Value.Type() == "string" {
				f.Value = namedValue{f.Value, name}
			}
		})
	}
}
