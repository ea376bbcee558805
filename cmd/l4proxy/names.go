package main

import "l4proxy/discovery"

// resolverFiles are where the settings for names are; tests have their own.
var resolverFiles = discovery.System

// newDirectory returns the Directory that looks up and follows all names of the process.
func newDirectory() *discovery.Directory {
	return discovery.NewDirectory(discovery.NewResolver(resolverFiles).Lookup)
}
