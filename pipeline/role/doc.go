// Package role is what each role gets from the process that plays it: the configuration, where it
// says how it is, and how it waits for what it needs.
package role
