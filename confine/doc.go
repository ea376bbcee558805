// Package confine gives up what a process no longer needs: root, capabilities, writing outside of a
// few directories, and rare system calls.
//
// The kernel keeps most of this per thread, and threads exist before main. So every change here is
// made on all threads at once, including those that event loops hold. Nothing can be taken back,
// and all of it outlives execve(2): a process that an upgrade starts has it from the beginning. The
// package never adds a second layer to what it inherits, because layers are limited (Landlock) or
// cost time per system call (seccomp).
package confine
