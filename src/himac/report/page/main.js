// The sections in their order.

document.getElementById('title').append(page.title);
setUpTheme();
showOverview();
showTypes();
showStops();
showTime();
showCurves();
showEpisodes();
showBlueprints();
showContexts();
showConfiguration();
showTables();
follow();
document.documentElement.dataset.ready = 'yes';
