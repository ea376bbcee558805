// Package doctor checks a machine and a configuration for what bites people who run the proxy: a
// limit that is too low, a table of the kernel that is too small, a profile that forbids io_uring.
// Each [Check] looks at [Facts], which tests can make up, and returns findings with what to do.
package doctor
