(() => {
  const form = document.getElementById("upload");
  const list = document.getElementById("progress");
  const button = form.querySelector("button");
  const reasons = {
    400: "this name is not allowed", 403: "not allowed", 408: "too slow", 409: "a file of this name is there",
    413: "too large", 503: "the server is busy", 507: "no room on the server",
  };
  const row = file => {
    const item = document.createElement("li");
    const name = document.createElement("bdi");
    const bar = document.createElement("progress");
    const text = document.createElement("output");
    name.textContent = file.name;
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-label", file.name);
    text.textContent = "waiting";
    item.append(name, bar, text);
    list.append(item);
    return { file, bar, text };
  };
  // One request for each file: each has its own progress, and one that is refused keeps no other from coming.
  const send = ({ file, bar, text }) => new Promise(done => {
    const request = new XMLHttpRequest();
    const body = new FormData();
    const end = reason => {
      text.textContent = reason || "done";
      text.classList.toggle("bad", !!reason);
      bar.value = reason ? 0 : 1;
      done();
    };
    body.append("file", file);
    request.open("POST", "./");
    request.setRequestHeader("Accept", "application/json");
    request.upload.onprogress = event => {
      if (!event.total) return;
      bar.value = event.loaded / event.total;
      text.textContent = Math.floor(100 * bar.value) + " %";
    };
    request.onload = () => end(request.status < 300 ? "" : reasons[request.status] || "failed: " + request.status);
    request.onerror = () => end("the connection broke off");
    request.send(body);
  });
  // The listing as it is now, in place of the one from before.
  const refresh = async () => {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of [".sum", "table"]) {
      const fresh = page.querySelector(part);
      if (fresh) document.querySelector(part).replaceWith(fresh);
    }
    if (!page.querySelector(".none")) document.querySelector(".none")?.remove();
  };
  form.addEventListener("submit", async event => {
    event.preventDefault();
    list.replaceChildren();
    button.disabled = true;
    for (const each of [...form.elements.file.files].map(row)) await send(each);
    button.disabled = false;
    form.reset();
    await refresh();
  });
})();
