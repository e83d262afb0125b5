// Package catalog opens the models that the configuration names: which versions there are, which
// of them serve, and what executes them. A graph is a program: Try loads and runs a version in a
// child process first.
package catalog
