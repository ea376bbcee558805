// Sets the theme before the first paint. Without a choice, the theme is that of the system.
"use strict";
try {
	const theme = localStorage.getItem("l4proxy-theme");
	if (theme === "light" || theme === "dark") {
		document.documentElement.dataset.theme = theme;
	}
} catch {
	// Without storage, the choice lasts until the page is left.
}
