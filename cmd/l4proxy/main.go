// Command l4proxy is a Layer 4 TCP proxy and load balancer.
package main

import "os"

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }
