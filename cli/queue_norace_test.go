//go:build !race

package cli

// side is how many scenarios of the library run at once. They mostly wait, and a program without the
// race detector leaves the processors to the kernel.
const side = 6
