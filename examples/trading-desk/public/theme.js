// The colours: the system's, or the ones that were chosen here. Runs before the page is drawn, so that none flash.
const chosenTheme = localStorage.getItem('theme')
if (chosenTheme !== null) document.documentElement.dataset.theme = chosenTheme

document.addEventListener('DOMContentLoaded', () => {
  for (const input of document.querySelectorAll('#theme input')) {
    input.checked = input.value === (chosenTheme ?? '')
    input.onchange = () => {
      if (input.value === '') localStorage.removeItem('theme')
      else localStorage.setItem('theme', input.value)
      document.documentElement.dataset.theme = input.value
    }
  }
})
