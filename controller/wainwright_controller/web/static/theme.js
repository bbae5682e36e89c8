// Runs before the page is drawn, so that nobody who chose dark sees a flash of light.
"use strict";
{
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
