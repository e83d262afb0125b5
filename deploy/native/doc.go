// Package native finds the native libraries that millrace loads, and loads none that it does not
// know: what is loaded runs with all that this process may do.
//
// A library lies beside the executable, or where a setting says, never where the working
// directory is. Its contents must have the digest that stands in SHA256SUMS, which belongs to the
// versions of package-lock.json, or one that the operator names. It and the folders above it must
// be such that nobody else can change them between the check and its use.
package native
