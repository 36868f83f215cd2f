"use strict";
// Everything works without this script; it remembers choices and follows the browser's language.
(() => {
  const languages = document.querySelectorAll("input[name=language]");
  const themes = document.querySelectorAll("input[name=theme]");

  // A sandboxed frame (as in the Kubeflow UI) forbids storage: choices then last as long as the page.
  const recall = (key) => {
    try { return localStorage.getItem("launchyard." + key); } catch { return null; }
  };
  const keep = (key, value) => {
    try { localStorage.setItem("launchyard." + key, value); } catch { /* forbidden here */ }
  };
  const choose = (inputs, value) => inputs.forEach((input) => { if (input.value === value) input.checked = true; });

  const showLanguage = () => {
    const language = document.querySelector("input[name=language]:checked").value;
    document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
    document.title = language === "zh" ? document.body.dataset.titleZh : document.body.dataset.titleEn;
  };

  choose(languages, recall("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en"));
  choose(themes, recall("theme") ?? "auto");
  showLanguage();
  languages.forEach((input) => input.addEventListener("change", () => { keep("language", input.value); showLanguage(); }));
  themes.forEach((input) => input.addEventListener("change", () => keep("theme", input.value)));
})();
